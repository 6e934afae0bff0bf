// The page of those who are not signed in.

import { html, useState } from "./vendor/vendor.js";
import { Button, Field, Note } from "./parts.js";
import { Brand } from "./portal.js";
import { ended, redirect, settings, signIn } from "./session.js";
import { T } from "./texts.js";

export const SignInPage = () => {
  const [text, setText] = useState("");
  const [fault, setFault] = useState(null);
  const submit = (event) => {
    event.preventDefault();
    const token = text.trim().replace(/^bearer\s+/i, "");
    // Only what can be in a header; the API says whether it is valid.
    if (!/^[\x21-\x7e]+$/.test(token)) setFault(token ? T.signIn.notToken : T.signIn.noToken);
    else signIn(token);
  };
  const hasIssuer = Boolean(settings.value.client_id);
  return html`<main class="gate">
    <div class="card card-body stack wide">
      <div class="stack tight">
        <span class="brand"><${Brand} size=${32} /></span>
        <h1>${T.signIn.title}</h1>
        <p class="soft">${hasIssuer ? T.signIn.withIssuer : T.signIn.withToken}</p>
      </div>
      ${ended.value && html`<${Note} tone="warn" role="alert"><span>${T.signIn.ended(ended.value)}</span><//>`}
      ${hasIssuer && html`<${Button} kind="primary" onClick=${redirect}>${T.signIn.issuer}<//>`}
      <form class="stack" onSubmit=${submit}>
        <${Field} label=${T.signIn.token} hint=${T.signIn.hint} fault=${fault}>
          ${(control) => html`<textarea
            ...${control}
            class="mono"
            rows="4"
            spellcheck=${false}
            autocomplete="off"
            value=${text}
            onInput=${(event) => setText(event.target.value)}
          ></textarea>`}
        <//>
        <button class=${`button ${hasIssuer ? "" : "primary"}`} type="submit">${T.signIn.submit}</button>
      </form>
    </div>
  </main>`;
};
