// Shows the contract. Its address is relative to that of the page, because a gateway may add a path of its own. Without
// `none`, Swagger UI would send that address to a validator on another host.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: "none" });
