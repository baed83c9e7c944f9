"""HTML pages without a template engine: markup, drawings, and what stands in them."""
