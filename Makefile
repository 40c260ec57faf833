# `make` lists the commands. Everything runs from this folder; settings are read from .env by the programs themselves.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
TESTS ?= tests
SET_UP = @test -x $(PYTHON) || { echo "not set up yet: type \`make run\` first"; exit 2; };

.PHONY: help run test start stop restart status logs profile service pause resume flatten halt doctor backup backtest bench chaos fuzz lint

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## set up what is missing, start the bot, follow the trader's log; Ctrl-C stops it
	@tools/setup.sh run && exec $(PYTHON) -m tools.up run

test: ## set up what is missing, run the whole test suite (TESTS=tests/unit: a part of it)
	@tools/setup.sh test && exec env -u PYTHONDONTWRITEBYTECODE $(PYTHON) -m pytest -n 5 --dist loadscope $(TESTS)

start: ## start the bot in the background; returns when it is healthy
	@tools/setup.sh run && exec $(PYTHON) -m tools.up start

stop: ## stop the bot in order
	$(SET_UP) exec $(PYTHON) -m tools.up stop

restart: ## check the settings and take them on; STAGE=trader restarts one stage
	@tools/setup.sh run && exec $(PYTHON) -m tools.up restart $(STAGE)

status: ## a line per stage: state, process, uptime, restarts
	$(SET_UP) exec $(PYTHON) -m tools.up status

logs: ## follow the logs; STAGE=trader follows one
	$(SET_UP) exec $(PYTHON) -m tools.up logs $(STAGE)

profile: ## where a stage spends its time: make profile STAGE=trader [SECONDS=15]
	$(SET_UP) exec $(PYTHON) -m tools.profile "$(STAGE)" $(SECONDS)

service: ## print a systemd unit for this folder and user, with how to install it
	$(SET_UP) exec $(PYTHON) -m tools.service

pause: ## no new entries; exits go on
	$(SET_UP) exec $(PYTHON) -m tools.control pause

resume: ## entries again
	$(SET_UP) exec $(PYTHON) -m tools.control resume

flatten: ## sell what is held, at the market; no new entries until `make resume`
	$(SET_UP) exec $(PYTHON) -m tools.control flatten

halt: ## no new entries, working ones are cancelled; exits go on; `make resume` lifts it
	$(SET_UP) exec $(PYTHON) -m tools.control halt

doctor: ## is all fit for real orders? one line each, nothing is changed; JSON=1 for programs
	$(SET_UP) exec $(PYTHON) -m tools.doctor $(if $(JSON),--json)

backup: ## copy the book in force to backups/, also while it runs; ALL=1 every book, TAPE=1 the tape too, TO=/mnt/disk
	$(SET_UP) exec $(PYTHON) -m tools.backup $(if $(ALL),--all) $(if $(TAPE),--tape) $(if $(TO),--to "$(TO)")

backtest: ## replay recorded trades: TAPE=var/current/tape or a CSV, SET="RSI_BUY=25 BB_STDDEV=1.8", REPORT=out.html
	@tools/setup.sh run && exec $(PYTHON) -m backtest run --trades $(or $(TAPE),var/current/tape) $(foreach s,$(SET),--set $(s)) $(if $(REPORT),--report $(REPORT))

chaos: ## kill a bot of its own at random under load and judge what it left; ROUNDS=200, SEED=number; LIVE=1: with real orders
	@tools/setup.sh run && exec $(PYTHON) -m tools.chaos --rounds $(or $(ROUNDS),$(if $(LIVE),1000,200)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(LIVE),--live --protocol $(or $(PROTOCOL),coindcx))

fuzz: ## feed every parser what nobody would send: SECONDS=60, TARGET="kraken account", SEED=number
	@tools/setup.sh test && exec $(PYTHON) -m tests.fuzz $(or $(SECONDS),60) "$(TARGET)" $(SEED)

lint: ## check style and types
	@tools/setup.sh test && $(PYTHON) -m ruff check . && $(PYTHON) -m mypy .

bench: ## measure everything beside the bare parts, about twenty minutes; BENCH="hops burst": only these
	@tools/setup.sh run && exec $(PYTHON) -m tools.bench $(BENCH)
