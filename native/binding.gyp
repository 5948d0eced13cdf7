{
  # Builds from the published package, for `repfuse build-native`.
  "includes": ["repfuse.gypi"],
  "targets": [
    {
      "target_name": "repfuse",
      "sources": ["<!@(node -p \"require('./sources.json').sources.map((path) => '../' + path).join(' ')\")"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")", "include"]
    }
  ]
}
