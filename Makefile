.PHONY: check test format
check:
	bash .ci/run
test:
	uv run pytest
format:
	uv run ruff format . && uv run ruff check --fix .
