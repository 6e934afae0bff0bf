// What a webhook's and a delivery's state mean, as a word and a tone.

import { T } from "./texts.js";

// For each `health.state` of the API: the filter of the list that finds it, and the tone.
const HEALTH = {
  ok: ["active", "good"],
  failing: ["failing", "bad"],
  open: ["failing", "bad"],
  probing: ["failing", "warn"],
  draining: ["active", "warn"],
  paused: ["paused", "warn"],
};

export const stateOf = (webhook) => {
  const { states } = T.webhook;
  if (webhook.is_deleted) return { key: "deleted", tone: "", word: states.deleted };
  if (!webhook.enabled) return { key: "disabled", tone: "", word: webhook.url ? states.disabled : states.draft };
  // An inbound webhook sends nothing, so it has no health.
  if (!webhook.health) return { key: "active", tone: "good", word: states.listening };
  const { state } = webhook.health;
  if (webhook.pause_reason === "failures") return { key: "failing", tone: "bad", word: states.pausedByFailures };
  if (state === "ok" && !webhook.last_delivery_at) return { key: "active", tone: "", word: states.unused };
  const [key, tone] = HEALTH[state] ?? ["active", ""];
  return { key, tone, word: states[state] ?? state };
};

const DELIVERY_TONES = {
  delivered: "good",
  retrying: "warn",
  parked: "warn",
  held: "warn",
  exhausted: "bad",
  failed: "bad",
};

export const deliveryState = (state) => ({ tone: DELIVERY_TONES[state] ?? "", word: T.delivery.states[state] ?? state });

export const isSuccess = (attempt) => attempt.verdict === "accepted";

// One line about an attempt: what happened, in words.
export const outcome = (attempt) => {
  const text = T.verdicts[attempt.verdict];
  return attempt.status ? `${text?.title ?? attempt.verdict} · ${attempt.status}` : (text?.title ?? attempt.verdict);
};
