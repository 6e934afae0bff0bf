def smoke():
    return 0
