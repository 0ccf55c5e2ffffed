"""querygrowth: count the queries SQLAlchemy sends, and find the ones that grow with the data."""
