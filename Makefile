.PHONY: check test format docs
check:
	bash .ci/run
test:
	uv run pytest
format:
	uv run ruff format . && uv run ruff check --fix .
docs:
	uv run python docs/api.py site
