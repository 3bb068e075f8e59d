-- Which files are still needed is asked at each start: jobs with reference pictures are found without reading all of them.
CREATE INDEX jobs_references ON jobs ("references") WHERE "references" <> '[]';
