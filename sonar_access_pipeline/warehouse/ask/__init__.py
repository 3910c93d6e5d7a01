"""The questions that people, packets and Dagster ask of the tables. Nothing is written here."""
