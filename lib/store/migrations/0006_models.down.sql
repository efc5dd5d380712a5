DROP TABLE shadow_predictions;
DROP TABLE model_routes;
DROP TABLE models;
ALTER TABLE predictions DROP COLUMN flags;
ALTER TABLE predictions DROP COLUMN probabilities;
ALTER TABLE predictions DROP COLUMN label;
