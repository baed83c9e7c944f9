"""The reference interaction model and its trainer. Needs torch, numpy, pyarrow, safetensors, tqdm, typer."""
