"""The studio: operators in the browser. A page, and the HTTP interface that it uses."""
