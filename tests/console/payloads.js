// What an attacker would write where a page might take it for HTML, a script or a URL. Each sets `window.attacked`.

export const PAYLOADS = [
  "<img src=x onerror=attacked=1>",
  "<script>attacked=1</script>",
  '"><svg onload=attacked=1>',
  "' onmouseover='attacked=1",
  "</textarea><script>attacked=1</script>",
  "</title><script>attacked=1</script>",
  "<iframe srcdoc='<script>parent.attacked=1</script>'>",
  "javascript:attacked=1",
  "{{constructor.constructor('attacked=1')()}}",
  "${attacked=1}",
  "<math><mtext></form><form><mglyph><style></math><img src onerror=attacked=1>",
];
