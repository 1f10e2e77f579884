CREATE TABLE organization (
    id           text PRIMARY KEY,
    max_timeout  interval,
    create_time  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE api_key (
    digest           bytea PRIMARY KEY,
    organization_id  text NOT NULL REFERENCES organization (id),
    scope            text NOT NULL CHECK (scope IN ('MEMBER', 'SERVICE', 'NODE', 'ADMIN')),
    create_time      timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoke_time      timestamptz
);

CREATE TABLE node (
    id               text PRIMARY KEY,
    name             text NOT NULL UNIQUE,
    registration_id  text NOT NULL,
    state            text NOT NULL CHECK (state IN ('ACTIVE', 'DRAINING', 'LOST')),
    address          text NOT NULL,
    attach_url       text NOT NULL,
    slots            integer NOT NULL CHECK (slots > 0),
    slots_used       integer NOT NULL DEFAULT 0,
    browsers         jsonb NOT NULL,
    register_time    timestamptz NOT NULL,
    heartbeat_time   timestamptz NOT NULL,
    -- The last line of defence against giving one slot away twice.
    CHECK (slots_used BETWEEN 0 AND slots)
);

CREATE TABLE session (
    id               text PRIMARY KEY,
    organization_id  text NOT NULL REFERENCES organization (id),
    state            text NOT NULL
        CHECK (state IN ('QUEUED', 'STARTING', 'RUNNING', 'CLOSING', 'CLOSED', 'FAILED')),
    spec             jsonb NOT NULL,
    timeout          interval NOT NULL,
    lifetime_limit   interval NOT NULL,
    create_time      timestamptz NOT NULL,
    state_time       timestamptz NOT NULL,
    start_time       timestamptz,
    expire_time      timestamptz,
    end_time         timestamptz,
    node_id          text REFERENCES node (id),
    registration_id  text,
    node_address     text,
    attach_url       text,
    epoch            bigint NOT NULL,
    close_reason     text,
    close_message    text NOT NULL,
    browser          jsonb,
    client_count     integer NOT NULL,
    warnings         text[] NOT NULL,
    request_id       text NOT NULL,
    request_digest   text NOT NULL,
    sequence         bigint NOT NULL,
    revision         bigint NOT NULL,
    CHECK ((state IN ('CLOSED', 'FAILED')) = (end_time IS NOT NULL)),
    CHECK (state NOT IN ('CLOSED', 'FAILED') OR close_reason IS NOT NULL)
);

CREATE UNIQUE INDEX session_by_request ON session (organization_id, request_id) WHERE request_id <> '';
-- IDs sort by the time of their making, so that one index serves the newest-first list and its pages.
CREATE INDEX session_by_organization ON session (organization_id, id);
CREATE INDEX session_unfinished_by_node ON session (node_id) WHERE end_time IS NULL;
CREATE INDEX session_by_deadline ON session (expire_time) WHERE state = 'RUNNING';

CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action      text NOT NULL CHECK (action IN ('PUBLISH', 'PURGE')),
    subject     text NOT NULL,
    message_id  text NOT NULL,
    headers     jsonb NOT NULL,
    payload     bytea NOT NULL
);
