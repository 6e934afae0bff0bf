// How receivers verify signatures: the examples of docs/receive/verify.md, for a webhook's own scheme.

import { base } from "./session.js";

let loaded = null;

// Returns all examples of the page.
export const loadExamples = () =>
  (loaded ??= fetch(new URL("console/examples.json", base)).then((response) => response.json()));

const LIBRARIES = ["JavaScript and TypeScript", "Python", "Go", "Rust", "Java and Kotlin", "Ruby", "PHP", "C#", "Elixir"];
const OTHERS = { github: "github", stripe: "stripe", shopify: "shopify" };

// Returns the examples for a webhook: its languages, and for each what to install and the code.
export const examplesFor = (examples, webhook) => {
  const scheme = webhook.signature_scheme;
  const shown = (example) => ({ name: example.heading, install: null, code: example.code });
  if (scheme === "standard-webhooks") {
    return LIBRARIES.flatMap((heading) => {
      const example = examples.find((one) => one.heading === heading);
      const install = /^`([^`]+)`/.exec(example?.lead ?? "")?.[1] ?? null;
      return example ? [{ ...shown(example), install: heading === "Elixir" ? null : install }] : [];
    });
  }
  if (scheme === "standard-webhooks-ed25519") {
    const example = examples.find((one) => one.heading === "With a public key");
    return example ? [{ name: "Node.js", install: null, code: example.code.replace("KEYS_URL", JSON.stringify(webhook.signing_keys_url)) }] : [];
  }
  const others = examples.filter((one) => one.heading === "Other schemes");
  if (OTHERS[scheme]) {
    const example = others.find((one) => one.language === "js" && one.code.includes(OTHERS[scheme]));
    return example ? [{ name: "Node.js", install: null, code: example.code }] : [];
  }
  const example = others.find((one) => one.language === "python");
  return example ? [{ name: "Python", install: null, code: byHmac(example.code, webhook) }] : [];
};

// The example of `hmac-sha256` with the header and the encoding of the webhook.
const byHmac = (code, webhook) => {
  const isSuperOffice = webhook.signature_scheme === "superoffice";
  const header = isSuperOffice ? "x-superoffice-signature" : (webhook.signature_header ?? "x-signature-256").toLowerCase();
  const named = code.replace("x-signature-256", header);
  if (!isSuperOffice && webhook.signature_encoding !== "base64") return named;
  return named
    .replace("import hmac", "import base64\nimport hmac")
    .replace(/expected = (.*)\.hex\(\)/, "expected = base64.b64encode($1).decode()");
};
