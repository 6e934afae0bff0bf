// Every text of the console. To translate it, translate this file and those in texts/.
import { DELIVERY_TEXTS } from "./texts/deliveries.js";
import { FORM_TEXTS } from "./texts/form.js";
import { OVERVIEW_TEXTS } from "./texts/overview.js";
import { WEBHOOK_TEXTS } from "./texts/webhooks.js";

export const T = {
  language: "en",
  product: "Dynahook",
  navigation: "Pages",
  skip: "Skip to the content",
  crumbs: "Path to this page",
  nav: {
    overview: "Overview",
    webhooks: "Webhooks",
    "dead-letters": "Dead letters",
    jobs: "Jobs",
    events: "Events",
    "event-types": "Event types",
    tenants: "All tenants",
    sources: "Sources",
  },
  reference: "API reference",
  theme: { dark: "Light theme", light: "Dark theme" },
  signOut: "Sign out",
  now: "just now",
  copy: "Copy",
  copied: "Copied",
  notCopied: "The browser does not allow copying here. Select the text and copy it.",
  code: "Code",
  again: "Try again",
  more: "Load more",
  cancel: "Cancel",
  close: "Close",
  save: "Save",
  edit: "Edit",
  remove: "Remove",
  clear: "Clear the search",
  loading: "Loading",
  noMatch: "Nothing matches",
  notFound: "This page does not exist",
  nothingAllowed: "This token shows nothing here",
  none: "none",
  all: "all",
  yes: "yes",
  no: "no",

  signIn: {
    title: "Sign in",
    withIssuer: "Continue with your organization's account, or with an API key.",
    withToken: "Paste a token of your issuer, or an API key.",
    issuer: "Continue with single sign-on",
    token: "Token or API key",
    hint: "It is kept in this tab only, and sent to this deployment only.",
    submit: "Sign in",
    noToken: "Paste a token first",
    notToken: "A token has no spaces, line breaks or special characters",
    ended: (why) => `You are signed out: ${why}`,
  },

  offer: {
    title: "Sign in with this link?",
    now: (tenant) => (tenant ? `You are signed in to ${tenant}.` : "You are already signed in."),
    then: (tenant) => (tenant ? `The link contains a token of ${tenant}.` : "The link contains another token, whose tenant is not known."),
    help: "If you continue, what you enter here goes to the tenant of the link. Continue only if you expected that.",
    stay: "Stay signed in",
    replace: "Sign in with the link",
    invalid: "The token of the link is not valid, so you stay signed in as before.",
  },

  portal: {
    logo: "Logo",
    ended: "This link has ended",
    endedHelp: (name) => `Links to this page are valid for a limited time. Ask ${name ?? "the people who gave you this one"} for a new link, or open this page again from where you came.`,
  },

  problem: {
    title: "That did not work",
    page: "This page has a fault",
    offline: "No connection",
    offlineHelp: "The deployment cannot be reached. Check your connection, then try again.",
    status: (status) => `The deployment answered ${status}`,
  },

  chart: {
    spark: (rate, calls) => `${rate} of ${calls} attempts succeeded in the last 48 hours`,
    none: "No attempts in the last 48 hours",
    successful: "Successful",
    failed: "Failed",
    duration: "Mean duration of an attempt",
    attempts: (calls, errors) => `Attempts by hour: ${calls} in 48 hours, of which ${errors} failed`,
    durations: "Mean duration of an attempt by hour, over 48 hours",
    p50: "Half arrive within (p50)",
    p99: "99 % arrive within (p99)",
    latencies: "Time from an event to its arrival by hour, over 48 hours: median and 99th percentile",
  },

  ...WEBHOOK_TEXTS,
  ...DELIVERY_TEXTS,
  ...OVERVIEW_TEXTS,
  ...FORM_TEXTS,
};
