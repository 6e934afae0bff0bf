// A link with a token that was opened while another token is signed in. It could lead people into the tenant of an
// attacker, who then gets what they enter, so the page asks first.

import { html, useEffect, useState } from "./vendor/vendor.js";
import { send } from "./api.js";
import { Button, Dialog, toast } from "./parts.js";
import { claims, LINK, offered, signIn, token } from "./session.js";
import { T } from "./texts.js";

// Returns the tenant of a token, if it is known, and whether the API refuses the token.
const lookUp = async (text) => {
  if (!text) return { refused: true };
  try {
    const answer = await send(text, "GET", LINK.test(text) ? "/portal-links/current" : "/webhooks?limit=1");
    return { tenant: answer.tenant ?? answer.data?.[0]?.tenant_id ?? claims(text)?.tenant_id };
  } catch (problem) {
    return { refused: problem.status === 401, tenant: claims(text)?.tenant_id };
  }
};

const accept = (text) => {
  signIn(text);
  location.hash = "#/";
};

const decline = () => (offered.value = null);

export const Offer = () => {
  const text = offered.value;
  const [asked, ask] = useState(null);
  useEffect(() => {
    if (!text) return;
    let live = true;
    const decide = async () => {
      const [now, then] = await Promise.all([lookUp(token.value), lookUp(text)]);
      if (!live) return;
      // A product that shows the console opens a new portal link for each visit, so the same tenant needs no question.
      const isNext = LINK.test(text) && then.tenant && then.tenant === now.tenant;
      if (now.refused || isNext) {
        accept(text);
      } else if (then.refused) {
        decline();
        toast(T.offer.invalid);
      } else {
        ask({ text, now: now.tenant, then: then.tenant });
      }
    };
    decide();
    return () => {
      live = false;
    };
  }, [text]);
  if (!text || asked?.text !== text) return null;
  return html`<${Dialog} title=${T.offer.title} onClose=${decline}>
    <p>${T.offer.now(asked.now)} ${T.offer.then(asked.then)}</p>
    <p class="soft">${T.offer.help}</p>
    <div class="dialog-end">
      <button type="button" class="button" onClick=${decline}>${T.offer.stay}</button>
      <${Button} kind="primary" onClick=${() => accept(text)}>${T.offer.replace}<//>
    </div>
  <//>`;
};
