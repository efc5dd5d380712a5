// Its own file: the page's Content-Security-Policy lets no script run that stands in the page.
// What is typed in is kept nowhere: the token is gone with the tab.
"use strict";

window.ui = SwaggerUIBundle({
	url: "/openapi.json",
	dom_id: "#viewer",
	deepLinking: true,
	docExpansion: "list",
	defaultModelsExpandDepth: 0,
	displayRequestDuration: true,
	tryItOutEnabled: true,
	persistAuthorization: false,
	validatorUrl: null, // nobody else is asked
});
