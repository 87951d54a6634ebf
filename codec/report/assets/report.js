// Starts what needs all other scripts.
compareTool(document.getElementById("compare-tool"));
