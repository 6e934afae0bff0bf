// Verifies a delivery, {"secret", "headers", "body", "keys"} on standard input with the body in base64, by each signature on it: with
// the vendor's own library or, where there is none, in the way that the vendor's documentation shows. Prints what was verified, and
// the errors of the others.
import { createHmac, createPublicKey, timingSafeEqual, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import "@shopify/shopify-api/adapters/node";
import { verify as verifyGithub } from "@octokit/webhooks-methods";
import { ApiVersion, shopifyApi } from "@shopify/shopify-api";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

const { secret, headers, keys, ...delivery } = JSON.parse(readFileSync(0, "utf8"));
const bytes = Buffer.from(delivery.body, "base64");
// What the libraries take.
const body = bytes.toString();

function need(verified, name) {
  if (!verified) throw new Error(`${name} does not verify`);
}

// What the header carries must be the HMAC-SHA256 of the body, and compared in constant time.
function hmac(header, encoding) {
  const [given, expected] = [Buffer.from(headers[header], encoding), createHmac("sha256", secret).update(bytes).digest()];
  return given.length === expected.length && timingSafeEqual(given, expected);
}

const verifiers = {
  "standard-webhooks": [
    () => headers["webhook-signature"]?.split(" ").some((one) => one.startsWith("v1,")),
    () => {
      need(new Webhook(secret).verify(body, headers), "webhook-signature");
      // Throws for a signature that does not match.
      new SvixWebhook(secret).verify(body, headers);
    },
  ],
  // No official library verifies these yet: https://github.com/standard-webhooks/standard-webhooks/issues/124
  "standard-webhooks-ed25519": [
    () => headers["webhook-signature"]?.includes("v1a,"),
    () => {
      const message = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), bytes]);
      const given = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
      const trusted = keys.map((jwk) => createPublicKey({ key: jwk, format: "jwk" }));
      const verified = (one, key) => verify(null, message, key, Buffer.from(one.slice("v1a,".length), "base64"));
      need(given.some((one) => trusted.some((key) => verified(one, key))), "v1a");
    },
  ],
  github: [
    () => headers["x-hub-signature-256"],
    async () => need(await verifyGithub(secret, body, headers["x-hub-signature-256"]), "x-hub-signature-256"),
  ],
  stripe: [
    () => headers["stripe-signature"],
    () => need(Stripe.webhooks.constructEvent(body, headers["stripe-signature"], secret), "stripe-signature"),
  ],
  shopify: [
    () => headers["x-shopify-hmac-sha256"],
    async () => {
      const app = { apiVersion: ApiVersion.July26, hostName: "example.com", isEmbeddedApp: false, logger: { level: 0 } };
      const shopify = shopifyApi({ ...app, apiKey: "-", apiSecretKey: secret, scopes: [] });
      const rawRequest = { headers, method: "POST", url: "/" };
      const answer = await shopify.webhooks.validate({ rawBody: body, rawRequest, rawResponse: {} });
      need(answer.valid, `x-shopify-hmac-sha256 (${answer.reason})`);
    },
  ],
  // As https://docs.superoffice.com/en/automation/webhook/security.html says.
  superoffice: [
    () => headers["x-superoffice-signature"],
    () => need(hmac("x-superoffice-signature", "base64"), "x-superoffice-signature"),
  ],
  "hmac-sha256": [
    () => headers["x-signature-256"],
    () => need(hmac("x-signature-256", "hex"), "x-signature-256"),
  ],
};

const verified = [];
for (const [scheme, [isThere, check]] of Object.entries(verifiers)) {
  if (isThere()) {
    try {
      await check();
      verified.push(scheme);
    } catch (error) {
      console.error(`${scheme}: ${error.message}`);
    }
  }
}
console.log(verified.join(" "));
