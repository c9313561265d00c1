//! Rows of COPY text, counted and folded into a digest.
