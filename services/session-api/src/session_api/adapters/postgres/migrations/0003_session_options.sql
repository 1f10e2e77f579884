-- Additions only: the version before this one works on with them.

ALTER TABLE node
    -- Nodes of the version before this one say nothing of these: they have the full tier and nothing more.
    ADD COLUMN tiers            text[] NOT NULL DEFAULT '{FULL}',
    ADD COLUMN proxy_locations  text[] NOT NULL DEFAULT '{}',
    ADD COLUMN extensions       text[] NOT NULL DEFAULT '{}',
    ADD COLUMN warm_browsers    integer NOT NULL DEFAULT 0;

ALTER TABLE session
    -- Sealed by session-api, empty after the end.
    ADD COLUMN sealed_secrets   text NOT NULL DEFAULT '';
