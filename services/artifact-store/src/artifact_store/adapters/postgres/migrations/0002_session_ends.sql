-- Events that were applied: an event that comes again finds its row and changes nothing.
CREATE TABLE inbox (
    message_id   text PRIMARY KEY,
    receive_time timestamptz NOT NULL
);

CREATE INDEX inbox_by_time ON inbox (receive_time);

-- Sessions that have ended, as their events told.
CREATE TABLE session_end (
    session_id      text PRIMARY KEY,
    organization_id text NOT NULL,
    sequence        bigint NOT NULL CHECK (sequence > 0),
    end_time        timestamptz NOT NULL
);

CREATE INDEX session_end_by_time ON session_end (end_time);

-- Set when the deletion of an expired artifact begins: nobody is shown it from then on.
ALTER TABLE artifact ADD COLUMN delete_time timestamptz;

CREATE INDEX artifact_deleting ON artifact (delete_time) WHERE delete_time IS NOT NULL;
