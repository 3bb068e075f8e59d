-- The roles that somebody had when they asked, of a held job alone: its rules are looked at once an owner has answered.
ALTER TABLE jobs ADD COLUMN roles TEXT NOT NULL DEFAULT '[]';
