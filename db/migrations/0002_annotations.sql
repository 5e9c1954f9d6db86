ALTER TABLE run ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN is_baseline INTEGER NOT NULL DEFAULT 0 CHECK (is_baseline IN (0, 1));
ALTER TABLE run ADD COLUMN queue_position REAL;
CREATE UNIQUE INDEX run_baseline ON run (is_baseline) WHERE is_baseline = 1;

CREATE TABLE verdict (
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  verdict TEXT CHECK (verdict IN ('agree', 'swap', 'tie', 'both_bad', 'unsure')),
  is_flagged INTEGER NOT NULL CHECK (is_flagged IN (0, 1)),
  is_blind INTEGER NOT NULL CHECK (is_blind IN (0, 1)),
  note TEXT NOT NULL DEFAULT '',
  at REAL NOT NULL,
  PRIMARY KEY (stage_id, prompt_id)
);

CREATE TABLE usage (
  usage_id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
  at REAL NOT NULL,
  cpu_percent REAL NOT NULL,
  rss_bytes INTEGER NOT NULL,
  gpu_percent REAL,
  gpu_bytes INTEGER,
  gpu_total_bytes INTEGER
);
CREATE INDEX usage_by_run ON usage (run_id, usage_id);
