
// Unpacks plotly.js, which lies in the page as gzip in base64, and draws each chart from its data.
(async () => {
  const packed = atob(document.getElementById("library").textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(inflated).text();
  document.head.append(library);
  for (const data of document.querySelectorAll("script.chart")) {
    const { data: traces, layout } = JSON.parse(data.textContent);
    await Plotly.newPlot(data.dataset.of, traces, layout, { displayModeBar: false, responsive: true });
  }
  document.getElementById("undrawn").remove();
})();
