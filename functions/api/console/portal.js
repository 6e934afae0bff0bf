// How the page names itself: as the product that opened it with a portal link, or as the console.

import { html, useEffect, useState } from "./vendor/vendor.js";
import { portal } from "./session.js";
import { T } from "./texts.js";

export const productName = () => portal.value?.name ?? T.product;

export const Brand = ({ size = 28, children }) => {
  const { name, logo_url: url } = portal.value ?? {};
  const [broken, setBroken] = useState(null);
  const logo = url && url !== broken;
  const words = name ?? (logo ? null : T.product);
  return html`${logo
      ? html`<img class="logo" src=${url} height=${size} alt=${name ? "" : T.portal.logo} onError=${() => setBroken(url)} />`
      : !name && html`<img src="console/icon.svg" width=${size} height=${size} alt="" />`}
    <span class="break">${words}${children}</span>`;
};

// The page of a link that has ended, was revoked or never existed.
export const LinkEndedPage = () => {
  useEffect(() => {
    document.title = `${T.portal.ended} · ${productName()}`;
  }, []);
  return html`<main class="gate">
    <div class="card card-body stack wide">
      <div class="stack tight">
        <span class="brand"><${Brand} size=${32} /></span>
        <h1>${T.portal.ended}</h1>
        <p class="soft">${T.portal.endedHelp(portal.value?.name)}</p>
      </div>
    </div>
  </main>`;
};
