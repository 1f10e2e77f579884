-- Additions only: the version before this one works on with them.

ALTER TABLE organization
    ADD COLUMN max_open_sessions       integer CHECK (max_open_sessions >= 0),
    ADD COLUMN max_creates_per_minute  integer CHECK (max_creates_per_minute >= 0),
    ADD COLUMN max_minutes_per_day     integer CHECK (max_minutes_per_day >= 0),
    ADD COLUMN weight                  double precision NOT NULL DEFAULT 1 CHECK (weight > 0);

ALTER TABLE api_key
    -- Keys of the version before this one get an ID too: one that sorts before those that are made of the time.
    ADD COLUMN id             text NOT NULL UNIQUE
        DEFAULT 'key_00' || left(translate(gen_random_uuid()::text, 'abcdef-', 'ghjkmn'), 24),
    ADD COLUMN prefix         text NOT NULL DEFAULT '',
    ADD COLUMN display_name   text NOT NULL DEFAULT '',
    ADD COLUMN last_use_time  timestamptz,
    ADD COLUMN expire_time    timestamptz;
UPDATE api_key SET expire_time = revoke_time;
CREATE INDEX api_key_by_organization ON api_key (organization_id, id);

ALTER TABLE node DROP CONSTRAINT node_state_check;
ALTER TABLE node
    ADD CONSTRAINT node_state_check CHECK (state IN ('ACTIVE', 'CORDONED', 'DRAINING', 'LOST')),
    ADD COLUMN is_cordoned  boolean NOT NULL DEFAULT false,
    ADD COLUMN is_stopping  boolean NOT NULL DEFAULT false,
    ADD COLUMN drain_time   timestamptz,
    ADD COLUMN report_time  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Nodes from before belong to whoever registers them next.
    ADD COLUMN owner_id     text,
    ADD COLUMN cpu          double precision,
    ADD COLUMN memory       double precision;
UPDATE node SET is_stopping = true WHERE state = 'DRAINING';
-- Slots and heartbeats change all the time: room on each page lets that happen without touching an index.
ALTER TABLE node SET (fillfactor = 50);

-- Since when somebody has looked for silent nodes without a break: one row.
CREATE TABLE node_watch (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    since   timestamptz NOT NULL,
    seen    timestamptz NOT NULL
);

ALTER TABLE session
    ADD COLUMN browser_type       text NOT NULL GENERATED ALWAYS AS (spec ->> 'browser_type') STORED,
    ADD COLUMN labels             jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN idle_timeout       interval,
    ADD COLUMN idle_activity      text,
    ADD COLUMN queue_expire_time  timestamptz,
    ADD COLUMN viewer_count       integer NOT NULL DEFAULT 0,
    ADD COLUMN active_time        timestamptz,
    ADD COLUMN occupancy          jsonb,
    ADD COLUMN control            jsonb,
    ADD COLUMN holdings           bigint NOT NULL DEFAULT 0,
    ADD COLUMN controls           bigint NOT NULL DEFAULT 0,
    ADD COLUMN warned             interval,
    -- When something may be due next; a hint that is never too late. Rows of the version before this one are looked at
    -- once, and get theirs then.
    ADD COLUMN due_time           timestamptz DEFAULT now(),
    -- The transaction that wrote the row last. Rows below every transaction that is still running are complete:
    -- whoever reads changes in this order misses none, which a sequence number cannot promise.
    ADD COLUMN change_xid         xid8 NOT NULL DEFAULT pg_current_xact_id();

DROP INDEX session_by_deadline;
CREATE INDEX session_by_due ON session (due_time) WHERE end_time IS NULL;
CREATE INDEX session_by_change ON session (change_xid);
CREATE INDEX session_queued ON session (organization_id, id) WHERE state = 'QUEUED';
CREATE INDEX session_queued_by_browser ON session (browser_type) WHERE state = 'QUEUED';
CREATE INDEX session_open_by_organization ON session (organization_id, id) WHERE end_time IS NULL;

CREATE TABLE usage (
    session_id       text NOT NULL,
    epoch            bigint NOT NULL,
    organization_id  text NOT NULL,
    labels           jsonb NOT NULL,
    start_time       timestamptz NOT NULL,
    end_time         timestamptz NOT NULL,
    PRIMARY KEY (session_id, epoch)
);
CREATE INDEX usage_by_end ON usage (end_time, session_id);
CREATE INDEX usage_by_organization ON usage (organization_id, end_time);
