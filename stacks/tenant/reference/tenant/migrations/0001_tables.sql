-- Times are the server's clock at each statement, not at the transaction, so that rows of one transaction keep their order.
CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    role text,
    tier integer NOT NULL DEFAULT 1,
    parent_id uuid REFERENCES workspaces (id) ON DELETE SET NULL,
    runtime text NOT NULL DEFAULT 'langgraph',
    status text NOT NULL DEFAULT 'provisioning',
    url text NOT NULL DEFAULT '',
    delivery_mode text NOT NULL DEFAULT 'push' CHECK (delivery_mode IN ('push', 'poll')),
    agent_card jsonb,
    active_tasks integer NOT NULL DEFAULT 0,
    current_task text NOT NULL DEFAULT '',
    last_error_rate double precision NOT NULL DEFAULT 0,
    last_sample_error text NOT NULL DEFAULT '',
    uptime_seconds integer NOT NULL DEFAULT 0,
    budget_limit bigint,
    workspace_dir text,
    workspace_access text NOT NULL DEFAULT 'none',
    instance_id text NOT NULL DEFAULT '',
    inbound_secret text NOT NULL DEFAULT '',
    x double precision NOT NULL DEFAULT 0,
    y double precision NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX workspaces_parent ON workspaces (parent_id);

CREATE TABLE workspace_tokens (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    digest text NOT NULL UNIQUE,
    prefix text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz
);
CREATE INDEX workspace_tokens_workspace ON workspace_tokens (workspace_id);

CREATE TABLE org_tokens (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL DEFAULT '',
    created_by text NOT NULL DEFAULT '',
    digest text NOT NULL UNIQUE,
    prefix text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz
);

-- The product's name, since replays insert rows here by SQL.
CREATE TABLE activity_logs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    activity_type text NOT NULL,
    source_id uuid,
    target_id uuid,
    method text,
    summary text,
    request_body jsonb,
    response_body jsonb,
    duration_ms integer,
    status text NOT NULL DEFAULT 'ok',
    error_detail text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX activity_logs_workspace ON activity_logs (workspace_id, created_at DESC, id DESC);

CREATE TABLE canvas_viewport (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    x double precision NOT NULL,
    y double precision NOT NULL,
    zoom double precision NOT NULL
);
