-- Which button made a job: presses of the same button that follow each other at once are one job.
ALTER TABLE jobs ADD COLUMN pressed TEXT NOT NULL DEFAULT '';
