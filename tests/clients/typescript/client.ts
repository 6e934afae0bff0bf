// A client made by openapi-typescript and openapi-fetch: creates a webhook with a filter, publishes an event, and reads
// an error.

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { env: Record<string, string> };

const api = createClient<paths>({
  baseUrl: process.env.API,
  headers: { authorization: `Bearer ${process.env.TOKEN}` },
});

const created = await api.POST("/webhooks", {
  body: {
    url: "https://example.com/webhooks",
    event_types: ["order.created"],
    payload_format: "standard",
    filter: { value: { total: [{ numeric: [">", 100] }] } },
  },
});
if (!created.data) throw new Error(created.error.detail);
console.log(created.data.id, created.data.payload_format);

const published = await api.POST("/events", { body: { event_type: "order.created", data: { total: 250 } } });
if (!published.data || "results" in published.data) throw new Error(published.error?.detail);
console.log(published.data.event_type);

const refused = await api.POST("/webhooks", { body: { url: "nowhere" } });
if (!refused.error) throw new Error("a wrong URL is accepted");
console.log(refused.error.status, refused.error.type, refused.error.errors?.[0]?.pointer);
