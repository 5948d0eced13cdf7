{
  # Builds in a clone. Left out of the published package: npm would run it at install (native/binding.gyp is shipped).
  "includes": ["native/repfuse.gypi"],
  "targets": [
    {
      "target_name": "repfuse",
      "sources": ["<!@(node -p \"require('./native/sources.json').sources.join(' ')\")"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")", "native/include"]
    }
  ]
}
