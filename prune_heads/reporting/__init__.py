"""Tables and figures. They read records and reports, never models."""
