"""Where a search can be followed besides its own report: one file per tracker, whose library is imported when used."""
