CREATE TABLE run (
  run_id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  method TEXT NOT NULL,
  seed INTEGER NOT NULL,
  iterations INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'stopped')),
  created_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL,
  config_json TEXT NOT NULL,
  config_digest TEXT NOT NULL,
  lineage_json TEXT NOT NULL,
  base_folder TEXT NOT NULL,
  base_digest TEXT NOT NULL,
  parent_run_id TEXT,
  fork_at TEXT,
  reuse INTEGER NOT NULL CHECK (reuse IN (0, 1)),
  provenance_json TEXT NOT NULL,
  stop_requested_at REAL,
  exit_code INTEGER,
  error TEXT
);

CREATE TABLE run_tag (
  run_id TEXT NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
  tag TEXT NOT NULL,
  PRIMARY KEY (run_id, tag)
);

CREATE TABLE lease (
  run_id TEXT NOT NULL PRIMARY KEY REFERENCES run (run_id) ON DELETE CASCADE,
  token TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_started_at REAL NOT NULL,
  host TEXT NOT NULL,
  heartbeat_at REAL NOT NULL
);

CREATE TABLE stage (
  stage_id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL CHECK (name IN ('sample', 'score', 'agree', 'pair', 'train', 'evaluate')),
  state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
  owner_run_id TEXT,
  owner_token TEXT,
  n_done INTEGER NOT NULL,
  n_total INTEGER,
  unit TEXT,
  n_tokens INTEGER,
  started_at REAL,
  finished_at REAL,
  error TEXT
);

CREATE TABLE run_stage (
  run_id TEXT NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id),
  iteration INTEGER NOT NULL,
  label TEXT NOT NULL,
  PRIMARY KEY (run_id, position)
);
CREATE INDEX run_stage_by_stage ON run_stage (stage_id);

CREATE TABLE attempt (
  attempt_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  run_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  pid INTEGER,
  log_path TEXT,
  started_at REAL NOT NULL,
  finished_at REAL,
  exit_code INTEGER,
  error TEXT,
  peak_rss_bytes INTEGER,
  peak_gpu_bytes INTEGER,
  compute_s REAL
);
CREATE INDEX attempt_by_stage ON attempt (stage_id);

CREATE TABLE prompt (
  prompt_id TEXT NOT NULL PRIMARY KEY,
  text TEXT NOT NULL,
  messages_json TEXT NOT NULL,
  answer TEXT,
  task TEXT
);

CREATE TABLE sampled_prompt (
  sampled_prompt_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  position INTEGER NOT NULL,
  token_ids_json TEXT NOT NULL,
  skip_reason TEXT,
  UNIQUE (stage_id, prompt_id)
);

CREATE TABLE response (
  response_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  k INTEGER NOT NULL,
  text TEXT NOT NULL,
  token_ids_json TEXT NOT NULL,
  finish_reason TEXT NOT NULL CHECK (finish_reason IN ('end', 'length')),
  n_tokens INTEGER NOT NULL,
  sampled_logprob REAL NOT NULL,
  extracted TEXT,
  correct INTEGER CHECK (correct IN (0, 1)),
  UNIQUE (stage_id, prompt_id, k)
);

CREATE TABLE score (
  score_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  k INTEGER NOT NULL,
  scorer TEXT NOT NULL,
  model TEXT,
  reference TEXT,
  sum_logprob REAL,
  reference_sum_logprob REAL,
  n_tokens INTEGER,
  score REAL,
  missing_reason TEXT,
  UNIQUE (stage_id, scorer, prompt_id, k),
  CHECK ((score IS NULL) <> (missing_reason IS NULL))
);

CREATE TABLE agreement (
  agreement_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  measure TEXT NOT NULL,
  scorer TEXT NOT NULL,
  against TEXT NOT NULL,
  value REAL,
  consistency_rate REAL CHECK (consistency_rate BETWEEN 0 AND 1),
  n INTEGER NOT NULL,
  n_distinct INTEGER NOT NULL,
  undefined_reason TEXT,
  UNIQUE (stage_id, measure, scorer, against, prompt_id),
  CHECK ((value IS NULL) <> (undefined_reason IS NULL))
);

CREATE TABLE pair (
  pair_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  chosen_k INTEGER,
  rejected_k INTEGER,
  chosen_reward REAL,
  rejected_reward REAL,
  margin REAL,
  consistency_rate REAL,
  confidence REAL CHECK (confidence BETWEEN 0 AND 1),
  skip_reason TEXT,
  UNIQUE (stage_id, prompt_id),
  CHECK ((chosen_k IS NULL) <> (skip_reason IS NULL)),
  CHECK ((chosen_k IS NULL) = (rejected_k IS NULL))
);

CREATE TABLE metric_name (
  name_id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

CREATE TABLE metric (
  metric_id INTEGER PRIMARY KEY AUTOINCREMENT,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  name_id INTEGER NOT NULL REFERENCES metric_name (name_id),
  step INTEGER NOT NULL,
  value REAL NOT NULL,
  at REAL NOT NULL,
  UNIQUE (stage_id, name_id, step)
);

CREATE TABLE checkpoint (
  checkpoint_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL UNIQUE REFERENCES stage (stage_id) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  parent_digest TEXT NOT NULL,
  folder TEXT NOT NULL,
  n_parameters INTEGER NOT NULL,
  n_bytes INTEGER NOT NULL,
  created_at REAL NOT NULL
);

CREATE TABLE evaluation (
  evaluation_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  task TEXT NOT NULL,
  item_id TEXT NOT NULL,
  prompt TEXT NOT NULL,
  response TEXT NOT NULL,
  extracted TEXT,
  gold TEXT NOT NULL,
  correct INTEGER NOT NULL CHECK (correct IN (0, 1)),
  n_tokens INTEGER NOT NULL,
  finish_reason TEXT NOT NULL CHECK (finish_reason IN ('end', 'length')),
  UNIQUE (stage_id, task, item_id)
);
