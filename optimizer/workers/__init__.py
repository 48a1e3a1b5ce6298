"""Many machines for one search: trainings where Ray has room, everything else where the run is."""
