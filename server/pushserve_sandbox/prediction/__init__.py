"""Running a loaded model: arrays in, arrays out."""
