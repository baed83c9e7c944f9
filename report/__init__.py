"""What a person looks at: catalog, statistics, the report, a clip's page, and the HTML and chart kit."""
