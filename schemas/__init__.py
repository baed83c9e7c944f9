"""What the words mean: types, file forms, versions, errors. Imports nothing of ours."""
