# Every target is one line over a `meshmark` command. `make help` lists them with their variables.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo quick test check render preview validate train eval-real sweep predict label-helper export pose asset-check doctor clean

OBJECT_GIVEN := $(OBJECT)
OBJECT ?= chessboard
empty :=
space := $(empty) $(empty)
NAME := $(notdir $(patsubst %/,%,$(OBJECT)))
RUNS := runs/$(subst $(space),+,$(NAME))
SYNTH ?= $(foreach name,$(NAME),runs/$(name)/synth)
WEIGHTS ?= $(RUNS)/train/best
JOBS ?= $(shell nproc)
meshmark := .venv/bin/meshmark
pytest = .venv/bin/pytest --numprocesses $(JOBS) --maxprocesses 8 --dist loadfile
# $(call opt,seed,$(SEED)) is `--seed 7` when SEED=7 and nothing when SEED is unset.
opt = $(if $(2),--$(1) '$(2)')

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: .venv/.ready ## Install system GL libraries, Python packages and Meshmark into .venv [PYTHON=]

.venv/.ready: pyproject.toml scripts/setup.sh
	@scripts/setup.sh

demo: setup ## Chessboard from mesh to score on real photos [OUT=runs/demo]
	$(meshmark) demo --out '$(or $(OUT),runs/demo)'

test: setup ## Download what the tests need, then check: what CI runs
	@command -v chromium-headless-shell chromium google-chrome >/dev/null || scripts/setup.sh chromium-headless-shell
	$(meshmark) fetch chessboards && $(MAKE) --no-print-directory check

quick: ## The checks of a minute and a half: all but the slow tests [JOBS=]
	@$(MAKE) --no-print-directory check ARGS='-m "not slow" $(ARGS)'

check: setup ## ruff, mypy, pytest [ARGS= of pytest JOBS=processes]
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && $(pytest) $(ARGS)

render: setup ## Render labelled images [N= OBJECT= CONFIG= OUT= SEED= WORKERS= BACKGROUNDS=folder ENVIRONMENTS=folder RENDERER=fast|pyrender EXECUTOR=processes|ray FORMAT=folder|webdataset]
	$(meshmark) render --object '$(OBJECT)' --out '$(or $(OUT),$(SYNTH))' $(call opt,n,$(N)) $(call opt,config,$(CONFIG)) $(call opt,seed,$(SEED)) $(call opt,workers,$(WORKERS)) $(call opt,backgrounds,$(BACKGROUNDS)) $(call opt,environments,$(ENVIRONMENTS)) $(call opt,renderer,$(RENDERER)) $(call opt,executor,$(EXECUTOR)) $(call opt,format,$(FORMAT))

preview: setup ## Contact sheet of labelled images [SYNTH=folder N=images OUT=file OBJECT=]
	$(meshmark) preview '$(SYNTH)' $(call opt,out,$(OUT)) $(call opt,count,$(N)) $(call opt,object,$(OBJECT_GIVEN))

validate: setup ## Say what is wrong in labelled images [SYNTH=folder OBJECT=]
	$(meshmark) validate '$(SYNTH)' $(call opt,object,$(OBJECT_GIVEN))

train: setup ## Train Keypoint R-CNN [OBJECT=one or more SYNTH=folders|online REAL= REAL_FRACTION= VAL= INIT=snapshot PRESET=auto|cpu|gpu STEPS= MINUTES= RESUME=1 OUT= SEED= WORKERS=]
	$(meshmark) train $(foreach object,$(OBJECT),--object '$(object)') --out '$(or $(OUT),$(RUNS)/train)' $(foreach folder,$(SYNTH),--synth '$(folder)') $(call opt,synth-weights,$(SYNTH_WEIGHTS)) $(call opt,config,$(CONFIG)) $(call opt,backgrounds,$(BACKGROUNDS)) $(call opt,environments,$(ENVIRONMENTS)) $(call opt,real,$(REAL)) $(call opt,real-fraction,$(REAL_FRACTION)) $(call opt,val,$(VAL)) $(call opt,init,$(INIT)) $(call opt,preset,$(PRESET)) $(call opt,steps,$(STEPS)) $(call opt,minutes,$(MINUTES)) $(call opt,seed,$(SEED)) $(call opt,workers,$(WORKERS)) $(if $(RESUME),--resume)

eval-real: setup ## Score weights on real photos [WEIGHTS=folder REAL=folder OBJECT= OUT= SMALLEST=px]
	$(meshmark) eval '$(WEIGHTS)' $(foreach object,$(OBJECT),--object '$(object)') --out '$(or $(OUT),$(RUNS)/eval)' $(call opt,real,$(REAL)) $(call opt,smallest-object,$(SMALLEST))

sweep: setup ## Learning curve over labelled photos [OBJECT= SYNTH= REAL=train photos TEST=photos COUNTS=0,5,10,25,all SEEDS= STEPS= PRESET= OUT=]
	$(meshmark) sweep --object '$(OBJECT)' --out '$(or $(OUT),$(RUNS)/sweep)' --synth '$(SYNTH)' --real '$(REAL)' --test '$(TEST)' $(call opt,counts,$(COUNTS)) $(call opt,seeds,$(SEEDS)) $(call opt,real-fraction,$(REAL_FRACTION)) $(call opt,steps,$(STEPS)) $(call opt,preset,$(PRESET))

predict: setup ## Find objects in photos or videos [WEIGHTS= INPUT=file|folder|glob|camera OUT= SMALLEST=px of the smallest objects ARGS= of meshmark predict]
	$(meshmark) predict '$(WEIGHTS)' $(INPUT) --out '$(or $(OUT),$(RUNS)/predict)' $(call opt,smallest-object,$(SMALLEST)) $(ARGS)

label-helper: setup ## First labels for unlabelled photos, least certain first [WEIGHTS= INPUT=photos OUT=new folder SMALLEST=px]
	$(meshmark) label-helper '$(WEIGHTS)' $(INPUT) --out '$(or $(OUT),$(RUNS)/to-label)' $(call opt,smallest-object,$(SMALLEST))

export: setup ## Detector as one ONNX file [WEIGHTS= OUT=file INT8=folder to calibrate on SMALLEST=px ARGS= of meshmark export]
	$(meshmark) export '$(WEIGHTS)' --out '$(or $(OUT),$(RUNS)/$(NAME).onnx)' $(call opt,int8,$(INT8)) $(call opt,smallest-object,$(SMALLEST)) $(ARGS)

pose: setup ## Poses of objects in photos [WEIGHTS= INPUT=file|folder|glob OBJECT= CAMERA=calibration file or FOV=degrees OUT= SMALLEST=px]
	$(meshmark) pose '$(WEIGHTS)' $(INPUT) --object '$(OBJECT)' --out '$(or $(OUT),$(RUNS)/pose)' $(call opt,camera,$(CAMERA)) $(call opt,fov-deg,$(FOV)) $(call opt,smallest-object,$(SMALLEST))

asset-check: setup ## Lint an object folder and draw its turntable [OBJECT= OUT=file]
	$(meshmark) asset check '$(OBJECT)' $(call opt,out,$(OUT))

doctor: ## Say what works on this machine and what is missing
	@$(meshmark) doctor

clean: ## Remove caches and build leftovers; keeps .venv, runs/ and downloaded data
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info && find synth train tests assets -name __pycache__ -prune -exec rm -rf {} +
