CREATE TABLE artifact (
    id                text PRIMARY KEY,
    organization_id   text NOT NULL,
    session_id        text NOT NULL,
    run_id            text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('DOWNLOAD', 'RECORDING')),
    state             text NOT NULL CHECK (state IN ('PENDING', 'UPLOADED', 'STORED', 'FAILED')),
    display_name      text NOT NULL CHECK (display_name <> ''),
    content_type      text NOT NULL,
    blob_key          text,
    size_bytes        bigint CHECK (size_bytes >= 0),
    sha256            text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    failure_message   text NOT NULL DEFAULT '',
    create_time       timestamptz NOT NULL,
    update_time       timestamptz NOT NULL,
    end_time          timestamptz,
    finish_tries      integer NOT NULL DEFAULT 0,
    lease_expire_time timestamptz,
    revision          bigint NOT NULL,
    CHECK (state NOT IN ('UPLOADED', 'STORED') OR (blob_key IS NOT NULL AND size_bytes IS NOT NULL AND sha256 IS NOT NULL)),
    CHECK ((end_time IS NOT NULL) = (state IN ('STORED', 'FAILED')))
);

CREATE INDEX artifact_by_session ON artifact (organization_id, session_id, create_time, id);
CREATE INDEX artifact_waiting ON artifact (state, create_time) WHERE state IN ('PENDING', 'UPLOADED');
