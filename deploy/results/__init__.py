"""Results of documents: parsing, reports, failures."""
