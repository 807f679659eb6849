-- The object of a detection is answered by the index alone: a place on the sky asks for hundreds at a time, and their rows of
-- association lie far apart.
ALTER TABLE association DROP CONSTRAINT association_pkey, ADD PRIMARY KEY (det_id, recipe_id, version) INCLUDE (object_id);
