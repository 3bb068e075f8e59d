-- How much of a request's recipe its picture files may tell: 'always' (what the operator says), 'public' or 'never'.
ALTER TABLE jobs ADD COLUMN recipe_rule TEXT NOT NULL DEFAULT 'always';
