# make results   every table and figure (dvc repro)
# make report    the executed notebooks as web pages, in site/
# make test      the tests
# make test-all  these, and the slow ones: the pipeline after further changes
# make lab       JupyterLab on the notebooks
# Each makes or refreshes .venv first. PYTHON=... chooses the interpreter (3.11 or newer).

PYTHON ?= python3
# the programs of .venv come first; recipes quote, so that the path may hold spaces
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# an environment of the caller's must not leak in
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help results report test test-all lab
help:
	@sed -n '/^#/!q; s/^# //p' Makefile

results: .venv/ready
	# DVC rewrites its lock file in place: a kill at the wrong moment leaves it empty, and DVC refuses to start
	@find .dvc/tmp -maxdepth 1 -name rwlock -empty -delete 2>/dev/null || true
	# DVC takes write-protected objects of its cache as they are: without the protection it checks them
	@chmod -R u+w .dvc/cache/files 2>/dev/null || true
	dvc repro
	@echo "done: tables and figures are in figures/, executed notebooks in reports/"

report: .venv/ready
	python -m icelib.tools.site
	@dvc status --quiet || echo "note: results are not up to date (see dvc status); the site shows them as they are"

# two files of tests at a time, each on one core: processes of more threads would wait for each other
test: .venv/ready
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: .venv/ready
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not browser'

lab: .venv/ready
	# notebooks are committed without outputs, see .gitattributes
	-git config filter.nbstripout.clean '"$(CURDIR)/.venv/bin/python" -m nbstripout'
	jupyter lab --notebook-dir notebooks

# A virtual environment knows its path: one that was moved or copied is made anew.
ifneq ($(shell cat .venv/ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/ready
endif
.venv/ready: requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python is %s, expected 3.11 or newer; try make PYTHON=python3.11" % sys.version.split()[0])'
	"$(PYTHON)" -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --constraint requirements.lock --editable ".[pipeline,dev]"
	@printf '%s' "$(CURDIR)" > .venv/ready
