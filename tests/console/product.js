// A product that embeds the console: its pages, and the portal links that it creates.

import { createServer } from "node:http";
import { api, settings } from "./setup.js";

// A product that shows the console in a frame, on the origin that the deployment allows and on one that it does not
// know.
const LOGO =
  '<svg xmlns="http://www.w3.org/2000/svg" width="28" height="28"><rect width="28" height="28" rx="8" fill="#0a7d5a"/><path d="M8 20l6-12 6 12M10 16h8" fill="none" stroke="#fff" stroke-width="2.4"/></svg>';
const product = () =>
  createServer((request, response) => {
    const asked = new URL(request.url, settings.portal);
    if (asked.pathname === "/logo.svg") return response.writeHead(200, { "content-type": "image/svg+xml" }).end(LOGO);
    const frame = `<iframe title="Webhooks" src="${asked.searchParams.get("frame") ?? ""}" width="1200" height="800" allow="clipboard-write"></iframe>`;
    return response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><html lang="en"><title>Acme</title><h1>Acme</h1>${frame}`);
  });
export const [known, unknown] = [product(), product()];
await new Promise((done) => known.listen({ fd: settings.portalSocket }, done));
await new Promise((done) => unknown.listen(0, "127.0.0.1", done));

export const theme = (more) => ({ name: "Acme Shop", logo_url: `${settings.portal}/logo.svg`, accent_color: "#0a7d5a", ...more });
export const portalLink = (body, token) => api("POST", "/portal-links", body, token);
