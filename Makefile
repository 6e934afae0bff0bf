LOCAL := python3 infra/local/main.py

.PHONY: help run deploy recover demo change token logs source replay-failures smoke test arm64 faults lint book recording pictures size package bench cost soak fuzz latency upgrade openapi requirements vendor down

help: ## Show this
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 17

run: ## Run everything on this machine, show a delivery, stay up
	@$(LOCAL) run

deploy: ## Deploy to AWS; asks for what is missing: STAGE=prod PARAMETERS="LogLevel=debug" TAGS="team=billing"
	@$(LOCAL) deploy

recover: ## Make a stack on AWS again of the data that a deleted one has kept: STAGE=prod
	@$(LOCAL) recover

change: ## Change a record of the running stack
	@$(LOCAL) change

token: ## Print a token for the local stack: TENANT=acme ROLES=ADMIN APP=crm
	@TENANT="$(TENANT)" ROLES="$(ROLES)" APP="$(APP)" $(LOCAL) token

logs: ## Print log lines of a function of the running stack: FUNCTION=deliver FILTER=whk_ MINUTES=15
	@FUNCTION="$(FUNCTION)" FILTER="$(FILTER)" MINUTES="$(MINUTES)" $(LOCAL) logs

demo: ## The same, but end after the first delivery
	@$(LOCAL) demo

source: ## Make a table of the running stack a source: TABLE=orders MAPPING=orders.json
	@TABLE="$(TABLE)" MAPPING="$(MAPPING)" $(LOCAL) source

replay-failures: ## Replay the records that fan-out of the running stack could not process
	@$(LOCAL) replay-failures

smoke: ## Deliver 4,500 changes of a real data set to a receiver that fails now and then
	@$(LOCAL) smoke

test: ## Run all tests, unit to end to end
	@$(LOCAL) test

arm64: ## Build for arm64, the default on AWS, and start each function under an emulator
	@$(LOCAL) arm64

faults: ## Kill processes, cut calls, fool DNS, and count what was lost
	@$(LOCAL) faults

lint: ## Check format, lints, documentation, architecture and templates
	@$(LOCAL) lint

book: ## Build the documentation as a book, in target/book
	@$(LOCAL) book

recording: ## Make the picture of README.md from what make run prints
	@$(LOCAL) recording

pictures: ## Make the pictures of the console and the dashboard from a run of the real data set
	@$(LOCAL) pictures

size: ## Show how large each function is, and how soon it asks for work
	@$(LOCAL) size

package: ## Make zips, template and SBOM of the commit, to deploy without Rust, in target/package; TWICE=1 compares two builds
	@TWICE="$(TWICE)" $(LOCAL) package

bench: ## Show what an event costs, as ratios
	@$(LOCAL) bench

cost: ## Count what deliveries cost, and write it into docs/use/cost.md
	@COST=write cargo test --quiet --workspace --locked --test cost the_page

fuzz: ## Feed what others send us to the laws that must hold: TARGET=filters SECONDS=600
	@TARGET="$(TARGET)" SECONDS="$(SECONDS)" $(LOCAL) fuzz

soak: ## Make 100,000 deliveries with 5 % failures, and see that none is lost
	@$(LOCAL) soak

down: ## Stop what a killed run left
	@$(LOCAL) down

latency: ## Show how long each route of the API takes
	@$(LOCAL) latency

upgrade: ## Update a deployment from an earlier version while deliveries are under way, and roll it back; FROM=<commit>
	@$(LOCAL) upgrade

openapi: ## Write infra/openapi.json from the code
	@cargo run --quiet --package api --example openapi > infra/openapi.json.new
	@mv infra/openapi.json.new infra/openapi.json

requirements: ## Pin the Python packages of infra/local/requirements/*.in, with their hashes; the versions stay unless a .in says otherwise
	@$(LOCAL) requirements

vendor: ## Copy the console's libraries from npm, at the versions of its package.json
	@$(LOCAL) vendor
