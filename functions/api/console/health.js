// What a webhook's and a delivery's state mean, as a word and a tone.

import { T } from "./texts.js";

export const stateOf = (webhook) => {
  const { states } = T.webhook;
  if (webhook.is_deleted) return { key: "deleted", tone: "", word: states.deleted };
  if (webhook.pause_reason === "failures") return { key: "failing", tone: "bad", word: states.pausedByFailures };
  if (webhook.paused_at) return { key: "paused", tone: "warn", word: states.paused };
  if (!webhook.enabled) return { key: "disabled", tone: "", word: webhook.url ? states.disabled : states.draft };
  if (webhook.consecutive_failures > 0) {
    return { key: "failing", tone: webhook.consecutive_failures > 2 ? "bad" : "warn", word: states.failing };
  }
  if (webhook.direction === "inbound") return { key: "active", tone: "good", word: states.listening };
  if (!webhook.last_delivery_at) return { key: "active", tone: "", word: states.unused };
  return { key: "active", tone: "good", word: states.healthy };
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
