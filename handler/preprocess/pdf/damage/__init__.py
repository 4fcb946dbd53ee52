"""Detection of damaged parts of a PDF page, which pdfium does not render."""
