"""HTML pages without a template engine: markup, drawings, plots and tables."""
