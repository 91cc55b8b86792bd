"""What a study's cells show together: pure functions from measurements to JSON; see `worker.study_assembly`."""
